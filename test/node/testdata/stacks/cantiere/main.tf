# What a run waits for as long as a test wants: a Deployment that is paused has no pods, and is done when it wants none.
terraform {
  required_providers {
    kubectl = { source = "gavinbunney/kubectl", version = "1.19.0" }
  }
}

variable "namespace" { type = string }

variable "name" { type = string }

resource "kubectl_manifest" "cantiere" {
  yaml_body = yamlencode({
    apiVersion = "apps/v1"
    kind       = "Deployment"
    metadata   = { name = var.name, namespace = var.namespace }
    spec = {
      replicas = 1
      paused   = true
      selector = { matchLabels = { app = var.name } }
      template = {
        metadata = { labels = { app = var.name } }
        spec     = { containers = [{ name = "web", image = "registry.ticino.example/probe:1" }] }
      }
    }
  })
}
