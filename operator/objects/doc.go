// Package objects collects the objects of a workspace and puts them back, acting as the workspace's account [acting.Backup]: it never
// reads or writes more than that account may, and what it puts back it believes nothing of. It knows no archive and no kind of ours.
package objects
