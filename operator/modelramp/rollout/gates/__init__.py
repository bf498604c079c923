"""Gates: what a version must show before any traffic. `spec` is what is asked, `chain` the order of the judges."""
