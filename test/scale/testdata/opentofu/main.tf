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

# Text that does not compress, in pieces of 16 KiB: the state has it twice.
resource "terraform_data" "ballast" {
  count = var.ballast > 0 ? 1 : 0
  input = [for i in range(ceil(var.ballast / 16)) : join("", [for j in range(186) : base64sha512("${var.name} ${i} ${j}")])]
}

output "name" { value = var.name }
