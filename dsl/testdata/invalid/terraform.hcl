terraform { # ERROR: Unknown block
  required_version = ">= 1.9"
  backend "s3" {}
  required_providers {}
}
provider "aws" {} # ERROR: Unknown block
resource "stage" "seed" {} # ERROR: Unknown block
ephemeral "random" "x" {} # ERROR: Unknown block
action "local" "x" {} # ERROR: Unknown block
var "size" {} # ERROR: Unknown block
variable "token" {
  ephemeral  = true # ERROR: Unknown attribute
  deprecated = "no longer used" # ERROR: Unknown attribute
  default { # ERROR: Unknown block
  }
  default = terraform.workspace # ERROR: Variables not allowed
}
output "token" {
  value     = var.token
  ephemeral = true # ERROR: Unknown attribute
  depends_on = [stage.nosuch] # ERROR: Unknown block
  precondition { # ERROR: Missing attribute
    condition = true
  }
  precondition {
    condition     = self.value > 1 # ERROR: Unknown name
    error_message = "x"
  }
  postcondition { # ERROR: Unknown block
  }
}
output "workspace" { value = terraform.workspace } # ERROR: Unknown name
data "jsonl" "d" {
  source          = "x"
  provider        = "aws" # ERROR: Unknown attribute
  prevent_destroy = true # ERROR: Unknown attribute
  timeouts { # ERROR: Unknown block
  }
  provisioner "local-exec" { # ERROR: Unknown block
  }
  connection { # ERROR: Unknown block
  }
  precondition { # ERROR: Unknown block
  }
  lifecycle {
    create_before_destroy = true # ERROR: Unknown attribute
    enabled               = false # ERROR: Unknown attribute
    destroy               = false # ERROR: Unknown attribute
  }
}
output "d" { value = data.jsonl.d.rows }
