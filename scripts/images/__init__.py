"""What the tests of container images share."""
