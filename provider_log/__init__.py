"""How is a provider kept on a partitioned, transactional log?"""
