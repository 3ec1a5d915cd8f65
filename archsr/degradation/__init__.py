"""The second-order degradation, drawn and applied on the device."""
