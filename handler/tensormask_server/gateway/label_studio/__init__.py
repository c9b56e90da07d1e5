"""Label Studio's interface for ML backends."""
