"""Stands for the worker."""

import os

from celery import Celery

app = Celery(broker=os.environ["REDIS_URL"])
