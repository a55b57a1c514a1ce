"""What a visitor may ask for, checked on the server."""
