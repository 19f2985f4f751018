"""Import paths of the official AINode that models of users name. An installed package `iotdb` goes on being found."""

import pkgutil

__path__ = pkgutil.extend_path(__path__, __name__)
