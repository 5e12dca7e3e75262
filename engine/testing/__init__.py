"""How does one test an orchestration, or a provider, without a server?"""
