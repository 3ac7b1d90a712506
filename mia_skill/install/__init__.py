"""Put MIA into hosts: the manifest, each host's configuration, skills and bundles."""
