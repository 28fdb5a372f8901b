"""The tests mirror the source; regression/ runs on devices."""
