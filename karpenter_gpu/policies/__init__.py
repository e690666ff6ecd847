"""Names to IAM documents: what Karpenter's controller and its nodes may do."""
