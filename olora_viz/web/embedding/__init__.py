"""The page under a proxy's path, in a frame, without the browser's storage."""
