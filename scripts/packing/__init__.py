"""What scripts/release puts into the archive beside what is built: a list of its parts, their licences, the archive itself."""
