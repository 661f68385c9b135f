"""A board at the other end of the system's ssh: what it is, a bundle put and run there, its result brought back."""

from edgekd.remote.board import Board
from edgekd.remote.deploy import Deployment, Tested, deploy

__all__ = ["Board", "Deployment", "Tested", "deploy"]
