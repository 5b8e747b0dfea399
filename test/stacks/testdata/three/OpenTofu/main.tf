terraform {
  required_providers {
    kubectl = { source = "gavinbunney/kubectl", version = "1.19.0" }
  }
}

variable "namespace" { type = string }

variable "name" { type = string }

resource "kubectl_manifest" "a" {
  yaml_body = yamlencode({ apiVersion = "v1", kind = "ConfigMap", metadata = { name = "${var.name}-a", namespace = var.namespace } })
}

resource "kubectl_manifest" "b" {
  yaml_body  = yamlencode({ apiVersion = "v1", kind = "ConfigMap", metadata = { name = "${var.name}-b", namespace = var.namespace } })
  depends_on = [kubectl_manifest.a]
}

resource "kubectl_manifest" "c" {
  yaml_body  = yamlencode({ apiVersion = "v1", kind = "ConfigMap", metadata = { name = "${var.name}-c", namespace = var.namespace } })
  depends_on = [kubectl_manifest.b]
}
