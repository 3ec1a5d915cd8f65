"""The second-order degradation: random parameters are drawn on the CPU and applied on the device."""
