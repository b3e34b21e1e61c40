"""What TLS, metrics, authentication and rates cost: banks with and without each, in one run (`make bench-security`)."""
