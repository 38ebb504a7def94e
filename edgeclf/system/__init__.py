"""What the operating system gives: CPUs, files, progress, child processes, plugins, stages."""
