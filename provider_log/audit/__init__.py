"""What does the log say happened?"""
