"""How a route comes by what it calls."""

from typing import Annotated

from fastapi import Depends, Request

from services.gateway.resources import Resources


def _resources(request: Request) -> Resources:
    resources: Resources = request.app.state.resources
    return resources


Held = Annotated[Resources, Depends(_resources)]
