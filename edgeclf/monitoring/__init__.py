"""What a service tells of itself while nobody labels its pictures."""
