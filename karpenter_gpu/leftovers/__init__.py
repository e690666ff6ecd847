"""What a cluster leaves in an account once it is deleted: found, priced and removed, with boto3 alone."""
