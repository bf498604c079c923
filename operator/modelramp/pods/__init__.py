"""What a pod may be: strategic merge of a template, what is not the template's to change, restricted security."""
