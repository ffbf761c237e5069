"""The WSGI application; Channels has no use for it, the migrated project is served by it too."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "parity_site.settings")

application = get_wsgi_application()
