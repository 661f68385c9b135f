"""From the weights of a depth network to a small quantised student on the device, without any data."""
