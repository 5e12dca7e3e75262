"""What shows that Turnlog does what it says?"""
