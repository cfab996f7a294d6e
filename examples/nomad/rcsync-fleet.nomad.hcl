# One process follows all jobs of a list, on one client with a host volume `loras`.
#   nomad var put nomad/jobs/rcsync-fleet token=… ; nomad job run -var jobs="$(cat jobs.txt)" rcsync-fleet.nomad.hcl
# Written by its documentation, neither run nor checked: there was no Nomad to check it with.
variable "jobs" {
  type        = string
  description = "One job id a line."
}

job "rcsync-fleet" {
  type = "batch"

  group "fleet" {
    restart {
      attempts = 10
      interval = "24h"
      delay    = "60s"
      mode     = "delay"
    }

    volume "loras" {
      type   = "host"
      source = "loras"
    }

    task "rcsync" {
      driver = "docker"

      config {
        image = "registry.example.com/rcsync:latest"
        args  = ["fleet", "${NOMAD_TASK_DIR}/jobs.txt", "/loras/{name}-{id}", "--output", "json"]
      }

      template {
        destination = "local/jobs.txt"
        data        = var.jobs
        # The list is read again when it changes; the process need not be restarted.
        change_mode = "noop"
      }

      template {
        destination = "secrets/token.env"
        env         = true
        data        = "RUNCOMFY_TOKEN={{ with nomadVar \"nomad/jobs/rcsync-fleet\" }}{{ .token }}{{ end }}"
      }

      volume_mount {
        volume      = "loras"
        destination = "/loras"
      }

      # SIGTERM: parts are kept, locks are given back.
      kill_signal  = "SIGTERM"
      kill_timeout = "60s"

      resources {
        cpu    = 200
        memory = 256
      }
    }
  }
}
