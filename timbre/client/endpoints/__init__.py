"""Every request that is answered with JSON, one method an endpoint, a file a subject; both clients have them."""

from timbre.client.endpoints.datasets import DatasetEndpoints
from timbre.client.endpoints.jobs import JobEndpoints
from timbre.client.endpoints.speech import SpeechEndpoints
from timbre.client.endpoints.trainings import TrainingEndpoints


class Endpoints(DatasetEndpoints, TrainingEndpoints, SpeechEndpoints, JobEndpoints):
    """The HTTP API."""
