"""References to the components of the OpenAPI document."""


def reference(schema: str) -> dict[str, str]:
    """Refers to a schema by its name among the components."""
    return {"$ref": f"#/components/schemas/{schema}"}
