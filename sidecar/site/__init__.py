"""The site log: what happened to a store after the pods that filled it were gone."""
