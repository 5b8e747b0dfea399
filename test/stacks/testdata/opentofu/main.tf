terraform {
  required_providers {
    kubectl = { source = "gavinbunney/kubectl", version = "1.19.0" }
  }
}

variable "motto" { type = string }

variable "namespace" { type = string }

variable "codice" {
  type      = string
  sensitive = true
}

resource "kubectl_manifest" "insegna" {
  yaml_body = yamlencode({
    apiVersion = "v1"
    kind       = "ConfigMap"
    metadata   = { name = "insegna", namespace = var.namespace }
    data       = { motto = var.motto }
  })
}

resource "terraform_data" "impronta" {
  input = sha256(var.codice)
}

output "motto" { value = var.motto }

output "codice" {
  value     = var.codice
  sensitive = true
}
