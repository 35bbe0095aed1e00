"""The atlas of a sweep's units: what each sees, as pages that need no server and no network."""
