"""What does the owner of a partition do?"""
