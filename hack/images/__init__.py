"""The project's images, built without a container engine. Rules are in `build`."""
