"""Business rules over a model's answers: read, validated, evaluated. Shared by the operator and the model server."""
