"""What does the turnlog command do?"""
