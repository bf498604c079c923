"""The Envoy router of one ModelDeployment: what its ConfigMap says, and how Envoy comes to do it.

Pure: `render` (the ConfigMap's data), `split` and `structure` (read it back), `target` (judge it), `swap`
(make before break), `bootstrap`, `podspec`. I/O: `watch` (API), `directory` (files), `admin` (Envoy),
`stats` (one router pod), `follow`, `drain`.
"""
