"""What can be measured of weights, adapters and a race."""
