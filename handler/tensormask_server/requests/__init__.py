"""A request's bytes, headers and form fields to its images and options."""
