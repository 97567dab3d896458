"""Sources of the sample apps, shipped with the package: `edgesr.bundles` builds them around an artifact."""
