"""A board reached by the system's ssh: checking it, running a bundle there, and fetching the result."""

from edgekd.remote.board import Board
from edgekd.remote.deploy import Deployment, Tested, deploy

__all__ = ["Board", "Deployment", "Tested", "deploy"]
