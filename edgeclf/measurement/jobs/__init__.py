"""What can be measured in a process of its own: a job, its result and the measuring, a file each.

A process imports only the file of its own job, and nothing but the standard library before its
first figure is taken.
"""
