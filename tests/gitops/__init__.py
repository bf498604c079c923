"""What GitOps tools make of a ModelDeployment: Argo CD's scripts, kstatus, applying git's copy again."""
