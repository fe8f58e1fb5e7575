# Backend (cloakroom serve --no-worker) and worker (cloakroom worker) have roles of their own.

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com", "ec2.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "backend" {
  name               = "${var.bucket}-backend"
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

resource "aws_iam_role_policy" "backend" {
  name   = "storage"
  role   = aws_iam_role.backend.id
  policy = templatefile("${path.module}/../iam/backend.json", local.names)
}

resource "aws_iam_role" "worker" {
  name               = "${var.bucket}-worker"
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

resource "aws_iam_role_policy" "worker" {
  name   = "storage"
  role   = aws_iam_role.worker.id
  policy = templatefile("${path.module}/../iam/worker.json", local.names)
}
