"""How is a node reached over HTTP?"""
