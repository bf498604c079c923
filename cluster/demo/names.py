"""What things are called, and how fast they are; also the words of the story's commands."""

from pathlib import Path

from cluster.settings import REPOSITORY, SOURCE

CLUSTER = "modelramp-demo"
NAMESPACE = "modelramp-demo"  # of the model, MLflow, Prometheus and the load; the manifests name it too
SYSTEM = "modelramp-system"
RELEASE = "modelramp"
MODEL = "fraud-detector"
TRAFFIC = f"{MODEL}-traffic"
ROUTER = f"{MODEL}-router"

MANIFESTS = SOURCE / "manifests"
CHART = REPOSITORY / "charts" / "modelramp"
EXAMPLE = REPOSITORY / "examples" / "01-first-deployment"
OBJECT = Path(__file__).with_name("modeldeployment.yaml")
SCRIPTS = (Path(__file__).with_name("load_generator.py"), EXAMPLE / "traffic.py")

RATE = 50  # requests a second
NEW_CATEGORY = 0.5  # share of the transactions, once the new category is on the market
BREAKS_AT = 10  # percent of v3's ramp at which it appears
MOVED_WITHIN = 5.0  # seconds from a decision by hand to the last answer of the version that it is against
ROLLED_BACK_WITHIN = 5.0  # seconds from the first bad answer to the last one of the version that gave it
