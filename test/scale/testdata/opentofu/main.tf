terraform {
  required_providers {
    kubectl = { source = "gavinbunney/kubectl", version = "1.19.0" }
  }
}

variable "name" { type = string }

variable "namespace" { type = string }

variable "ballast" {
  type    = number
  default = 0
}

resource "kubectl_manifest" "insegna" {
  yaml_body = yamlencode({
    apiVersion = "v1"
    kind       = "ConfigMap"
    metadata   = { name = var.name, namespace = var.namespace }
    data       = { motto = "digital first" }
  })
}

# Text that does not compress, for plans and states of a size.
resource "terraform_data" "ballast" {
  count = var.ballast > 0 ? 1 : 0
  input = [for i in range(var.ballast * 16) : base64sha512("${var.name} ${i}")]
}

output "name" { value = var.name }
