"""The edge: HTTP in front of Asahi's services, and the pipeline that every inference takes."""

__version__ = "0.1.0"
